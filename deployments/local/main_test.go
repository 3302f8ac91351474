package main

import (
	"testing"

	"techtalks.example/deployments/local/localtest"
)

func TestMain(m *testing.M) { localtest.Main(m) }
