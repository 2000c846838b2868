"""What all charts share: colours, type, and labels that do not overlap."""
