"""How an op is computed: one family of algorithms in each file, the same three functions in each.

With T(x, w, y) = <y, conv(x, w)> the scalar form that a `ConvSpec` fixes:

    output(x, w, spec)           y, the derivative of T in y: the convolution
    input(w, y, spec, x_shape)   x, the derivative of T in x: the transposed convolution
    weight(x, y, spec, w_shape)  w, the derivative of T in w

`native` takes a bias in the first and gives its gradient in the last, where it is asked; beside the others a bias is
added, and its gradient summed, in steps of their own (`xla.add_bias`, `xla.sum_to_bias`).
"""
