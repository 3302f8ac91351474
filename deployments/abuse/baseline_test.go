package abuse

import (
	"context"
	"testing"

	"techtalks.example/deployments/local/localtest"
)

// The yardstick: without an attack the bystander is served.
func TestBystanderIsServedInPeace(t *testing.T) {
	t.Parallel()
	newBystander(t, localtest.Up(t, localtest.Folder(t))).duringAttack("none", func(context.Context) {})
}
