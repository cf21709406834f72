"""How an op is computed: one family of algorithms in each file, the same three functions in each.

With T(x, w, y) = <y, conv(x, w)> the scalar form that a `ConvSpec` fixes:

    output(x, w, spec)           y, the derivative of T in y: the convolution
    input(w, y, spec, x_shape)   x, the derivative of T in x: the transposed convolution
    weight(x, y, spec, w_shape)  w, the derivative of T in w
"""
