"""Race, ethnicity and insurance of patients from the files of CheXpert and MIMIC-IV, and children, as patient groups."""
