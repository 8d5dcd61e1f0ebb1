"""The hook `architectures`: the key `prompts` names the file of an output layer, for `head: prompts`."""

from bench.extensions.prompts import head

HEAD, KEY = head, head.NAME
