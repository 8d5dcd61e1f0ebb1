"""What stands beside every answer about an image."""

NOTICE = "For research only, not for clinical use: no medical device, and not validated for any patient."
