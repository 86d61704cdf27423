// Command causeway is the whole product: controller, agent, client commands,
// testbed and demo.
package main

func main() {}
