"""What a GPU gives: parity with float64, layers and networks against their peers, and what to choose there."""
