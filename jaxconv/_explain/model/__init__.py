"""A whole model explained.

It is traced by JAX, without values, into a program in which each call of a layer is marked (`trace`, `of_nnx`,
`of_linen`, `reader`). The program is divided into rows (`units`), each of which has its costs (`cost`) and, by rules of
what each primitive reads (`rules`, `windows`, `reach`, `propagate`), its receptive field. `make` makes the record of
them (`explanation`), which is printed by `text` and timed by `measure`.
"""
