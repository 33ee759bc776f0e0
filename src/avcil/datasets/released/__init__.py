"""The authors' released features and split files: download, safe reading of pickles, import."""
