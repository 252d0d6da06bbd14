"Pieces the models are built from.''"
