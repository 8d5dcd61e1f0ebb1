"""AUROC of Pneumothorax in images with and without a chest drain, which treats it: a shortcut that no hospital planted."""
