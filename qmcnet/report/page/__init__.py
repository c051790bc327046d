"""Reports: one page of HTML for one run or several, with nothing outside of it."""
