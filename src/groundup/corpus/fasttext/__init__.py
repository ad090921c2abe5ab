"""Linear text classifiers in fastText's file format: reading, writing, predicting, training."""
