"""What is measured: trained models in a store, tasks, contestants, the arena, ablations, and the tables they fill."""
