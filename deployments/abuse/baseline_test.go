package abuse

import (
	"context"
	"testing"

	"techtalks.example/deployments/local/localtest"
)

// The baseline: the bystander is served when there is no attack.
func TestBystanderIsServedWithoutAttack(t *testing.T) {
	t.Parallel()
	newBystander(t, localtest.Up(t, localtest.Folder(t))).duringAttack("none", func(context.Context) {})
}
