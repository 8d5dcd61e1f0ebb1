"""The words of data exposure: what a model had seen of a hospital, and which corpora are photographs."""

# Answers to "what had the model seen of this hospital?", from the least to the most. `labels` means images with labels,
# `text` means images with reports.
NO, IMAGES, TEXT, LABELS, UNKNOWN = "no", "images", "text", "labels", "unknown"
ANSWERS = (NO, IMAGES, TEXT, LABELS, UNKNOWN)

CORPORA = {  # key of a corpus in the registry -> its name and kind of images
    "in1k": "ImageNet-1k, photographs",
    "in12k": "ImageNet-12k, photographs",
    "in21k": "ImageNet-21k, photographs",
    "in22k": "ImageNet-22k, photographs",
}
