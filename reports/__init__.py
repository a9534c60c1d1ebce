"""From result rows to pages: the results store, leaderboard, tables, plots, gallery."""
