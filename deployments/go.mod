module techtalks.example/deployments

go 1.26.0

replace techtalks.example/proto => ../proto
