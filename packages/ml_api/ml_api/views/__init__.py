"""Views: parse requests into records, and render responses and pages."""
