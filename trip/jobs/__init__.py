"""Work that outlives the page: a store of jobs on disk, one worker that holds the accelerator, and a janitor."""
