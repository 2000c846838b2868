"""What all charts share: colours, type, and labels that do not overlap."""

from topout.home_folder import ensure_home

ensure_home()  # altair, which all modules here import, does not come without one
