"""Boolean circuits that learn by reverse derivatives: numbers of a finite ring, no floating point."""
