"""From road probability to road networks and road areas."""
