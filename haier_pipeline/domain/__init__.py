"""What the words of this project mean: pure values and rules, without a database, HTTP or Dagster."""
