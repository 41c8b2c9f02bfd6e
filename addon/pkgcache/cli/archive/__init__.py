"""The archive that `export` writes and `import` reads: its format, and which of its entries a store may take."""
