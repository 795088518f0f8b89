"""Why axes cannot be followed, where rules of several files give the same reason."""

COUNTS_UNITS = "it computes with the number of units"
"""Such a number would be another after a cut, and what is computed with it too."""

SUMS_NONZERO = "it sums over units that are not zero when masked"
"""A term that is not zero at a removed unit is missing from the sum after a cut."""

STACK_OF_MATRICES = "it multiplies units with a stack of matrices"
SINGLE_UNITS = "it picks single units"
LOOKS_UP_BY_UNITS = "it looks up by units"
SHAPE_NOT_FOLLOWED = "the shape that it gives is computed in a way that is not followed"
NORMALISES_UNITS = "it normalises over the units"
"""A mean or variance over fewer units is another."""

BIAS_NOT_CONSTANT = "its bias is not a constant"
