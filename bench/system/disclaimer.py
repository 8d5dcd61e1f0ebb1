"""The disclaimer shown with every prediction for an image."""

NOTICE = "For research only, not for clinical use: not a medical device, not clinically validated."
