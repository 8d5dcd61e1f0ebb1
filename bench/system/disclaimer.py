"""The notices shown with every prediction for an image."""

NOTICE = "For research only, not for clinical use: not a medical device, not clinically validated."
TRAINED_ON_SYNTHETIC = (
    "This run was trained on drawings (synthetic images). Its result says nothing about a real radiograph."
)
