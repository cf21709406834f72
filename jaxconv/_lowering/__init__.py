"""How an op is computed: `family.py` says what an algorithm implements, `select.py` which one is taken."""
