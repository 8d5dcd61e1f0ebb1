"""Training algorithms: the registry's entries of the section `algorithms`, which compute the loss of a batch.

ERM (empirical risk minimization), the mean loss over the images, has no code here. The other algorithms get a
`bench.training.algorithms.batch.Batch`.
"""
