mod env_file;
