package account

// demoAccount is an account of a demo site, which the sign-in page offers to
// everybody: its password is no secret.
type demoAccount struct{ name, role, handle, password string }

// demoAccounts are those that deployments/demo creates.
var demoAccounts = []demoAccount{
	{"Ada", "operator", "ada", "ada-ada-ada"},
	{"Grace", "follower", "grace", "grace-grace-grace"},
}
