// Package kubernetes holds the tests of the manifests beside it. They build every
// kustomization in this process and judge what comes out by the code of those who
// will: the API server, its Pod Security admission, and the operators' schemas.
package kubernetes
