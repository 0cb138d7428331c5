"""Teams: keys under common limits, and members with limits of their own within."""
