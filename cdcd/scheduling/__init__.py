"""What is told later: schedules, the scheduler that feeds what is owed, backlogs, rate limits."""
