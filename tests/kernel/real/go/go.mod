module oracle.invalid/work

go 1.19
