"""From score rows to pages: the results store, leaderboards, tables, plots, gallery."""
