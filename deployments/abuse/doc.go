// Package abuse attacks a running site and checks that other clients are still served.
//
// Each attack is a test in its own file, against a site that runs as with "make up". The
// pattern:
//
//	func TestUnfinishedFormsLeaveOthersServed(t *testing.T) {
//		site := localtest.Up(t, localtest.Folder(t))
//		others := newBystander(t, site)
//		others.duringAttack("256 unfinished forms", func(ctx context.Context) {
//			// Attack from the loopback address attacker until ctx is done.
//		})
//	}
//
// duringAttack starts the attack, sends the bystander's ordinary requests meanwhile (front
// page, search, inbox, follow, sign-in), and fails the test if too many of them fail. It logs
// a table row with the attack and the bystander's results. Attacks are bounded in number and
// time, and their traffic stays on the loopback interface.
//
// The tests assert no durations: a slow machine serves late, an overloaded site rejects.
package abuse
