"""Ground floor: values every floor shares, exact time, errors, progress and atomic files. No torch here."""
