"""What was tested but never timed on the machine that it is for; nothing here is chosen by itself.

`linear_softmax_cross_entropy` takes it only where `implementation` names it.
"""
