"""CronJobs: schedule and plan are pure, the controller applies. May not: create pods; that is the Job's part."""
