"""Reading raw input: WARC and WET files, and the other forms that texts come in; damage is told, never hidden."""
