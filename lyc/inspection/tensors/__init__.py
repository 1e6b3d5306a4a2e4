"""The tensors of a checkpoint, alike ones together.

collapse   names with shapes and dtypes → groups
parts      what a layer is made of: linear modules and bare parameters
attention, states, mlps, decoder   what each layer should hold, by config.json
encoders   the same for towers
stored     how a quantization stores a linear module
expected   all of it: config.json → groups
"""
