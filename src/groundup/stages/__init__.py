"""Composition: one file per stage, read top to bottom; the only place where objects get wired."""
