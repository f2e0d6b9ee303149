/* The machine's network card. */
#ifndef NETWORK_H
#define NETWORK_H

/*
 * Moves the card into the network namespace that the descriptor is of, where it
 * keeps its name.  Without a card nothing happens.
 */
void network_give(int namespace);

/*
 * Brings the card up, in the namespace that the descriptor is of: its address,
 * and the host as the gateway to all others.  Without a card nothing happens.
 */
void network_configure(int namespace);

/* Takes the card out of a namespace again, for a container without a network. */
void network_take(int namespace);

#endif
