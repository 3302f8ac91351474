// Package abuse attacks three running tiers and checks what everyone else still gets.
//
// Every attack is one test in a file of its own, against a site that "make up" would
// run. The pattern:
//
//	func TestUnfinishedFormsLeaveOthersServed(t *testing.T) {
//		site := localtest.Up(t, localtest.Folder(t))
//		others := newBystander(t, site)
//		others.duringAttack("256 unfinished forms", func(ctx context.Context) {
//			// Attack from the loopback address attacker until ctx ends.
//		})
//	}
//
// duringAttack starts the attack, sends the bystander's ordinary requests beside it (front
// page, search, inbox, follow, sign-in), and fails the test when too many of them are
// not served. It logs one row of a table: attack, what the bystander got. Attacks are
// bounded in number and time, and their traffic stays on the loopback interface.
//
// Nothing here asserts a duration: a slow machine serves late, an attacked one refuses.
package abuse
