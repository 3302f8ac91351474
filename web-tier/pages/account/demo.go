package account

// demoAccount is an account that the sign-in page of a demo site offers to every visitor. Its
// password is public.
type demoAccount struct{ name, role, handle, password string }

// demoAccounts lists the accounts that deployments/demo creates.
var demoAccounts = []demoAccount{
	{"Ada", "operator", "ada", "ada-ada-ada"},
	{"Grace", "follower", "grace", "grace-grace-grace"},
}
