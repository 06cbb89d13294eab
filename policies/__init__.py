"""The rules that every stack keeps, as a CrossGuard policy pack. What each one says: `./zdm preview` and docs."""
