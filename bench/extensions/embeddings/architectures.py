"""The hook `architectures`: the key `embeddings` names tables of vectors in place of a network."""

from bench.extensions.embeddings import features

FEATURES, KEY = features, features.KEY
