"""The one look of all reports: HTML pages that stand alone, with tables and plots."""
