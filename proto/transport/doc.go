// Package transport is the part of the contract that the message types do not cover: mutual
// authentication (mTLS with a SPIFFE ID in the certificate), the metadata of every call, load
// balancing over replicas, retries, and the routing of calls to modules.
package transport
