"""The parts of the first tab: functions of a result and a view that return HTML."""
